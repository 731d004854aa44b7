"""The commands, one module for each family. Which there are stands in `harborcal.cli.main`."""
