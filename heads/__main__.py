"""``python -m heads``: the console command, by its entry point: heads never imports cli."""

from importlib.metadata import entry_points

if __name__ == "__main__":
    next(iter(entry_points(group="console_scripts", name="heads"))).load()()
