"""`python -m raydg`, where the command `raydg` is not on the path, as on a cluster that raydg travels to with a job."""

from raydg.cli import main

if __name__ == "__main__":
    main()
