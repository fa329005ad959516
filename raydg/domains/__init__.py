"""What the datasets are: label spaces, layouts, licences, and two procedural worlds. No torch, no Ray."""
