"""The documented exit codes: those of sysexits.h where one fits."""

EXIT_OK = 0
EXIT_USAGE = 2  # a flag, a configuration, a combination of them
EXIT_DATA = 65  # input is there but damaged or of the wrong kind
EXIT_NO_INPUT = 66  # a file or folder is missing
EXIT_INTERNAL = 70  # a defect of this program
EXIT_CANNOT_CREATE = 73  # output exists, is locked or may not be written
EXIT_IO = 74  # reading or writing failed, disk full
EXIT_INTERRUPTED = 75  # told to stop, and worth starting again: --resume auto
EXIT_INCOMPATIBLE = 78  # an artefact of another schema or version
EXIT_ABORTED = 130  # stopped by Ctrl-C with nothing to resume
