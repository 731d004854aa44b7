"""Plant every known bug in turn and see that a campaign notices: ``python -m tests.planted [name ...]``."""

import concurrent.futures
import os
import sys

from tests.planted.fault import Fault, is_caught
from tests.planted.faults import FAULTS


def main() -> int:
    """Tell of each bug whether it was caught; return 1 where one was not."""
    chosen = [fault for fault in FAULTS if not sys.argv[1:] or fault.name in sys.argv[1:]]
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for fault, (is_seen, said) in zip(chosen, pool.map(_try, chosen), strict=True):
            caught += is_seen
            line = next((line.strip() for line in said.splitlines() if line.startswith("  ")), "")
            sys.stdout.write(f"{'caught' if is_seen else 'MISSED'}: {fault.name} {line[:160]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{caught} of {len(chosen)} caught\n")
    return int(caught < len(chosen))


def _try(fault: Fault) -> tuple[bool, str]:
    return is_caught(fault)


if __name__ == "__main__":
    sys.exit(main())
