"""Make ``python -m harborcal`` the command line."""

from harborcal.cli import main

if __name__ == "__main__":
    main()
