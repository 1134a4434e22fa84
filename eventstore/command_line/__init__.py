"""The commands behind `eventstore`, one module each. They need click and rich (the `cli` extra).

Theory of operation
-------------------
The commands have one manner, and shared modules keep it:

- `all_commands.py` has the table of all commands, turns errors into exit statuses, and prints
  errors.
- `exits.py` has the exit statuses.
- `command_declaration.py` declares a command: `PATH`, `--json`, `--color`, `--registry`, examples
  in the help.
- `output.py` writes an answer: tables on a terminal, tab-separated lines in a pipe, or JSON.
- `moments.py` reads a MOMENT, `registries.py` loads a registry, `progress.py` shows progress.

Standard output has the answer, and standard error everything else. Text from payloads, keys and
file names passes `printable`: a control character is shown, and no terminal executes it.

The engines of the commands are in `eventstore.tools` and know nothing of click. A reading command
takes no lock and changes no byte.
"""
