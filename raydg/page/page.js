// Rows of pictures are shown if they have what is chosen above them.
for (const box of document.querySelectorAll(".filters")) {
  const choices = [...box.querySelectorAll("select")];
  const rows = box.nextElementSibling.querySelectorAll(".shot");
  box.addEventListener("change", () => rows.forEach((row) => {
    row.hidden = choices.some(({ value, dataset }) => value && row.getAttribute(`data-${dataset.filter}`) !== value);
  }));
}
