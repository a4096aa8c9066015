"""A victim for fuse_hang.py: two threads, one of which reads the hung file directly (its second open), and never ends.

    fuse_reader.py FILE

The first thread sleeps. SIGKILL leaves the leader a zombie and the reader in uninterruptible sleep."""

import os
import sys
import threading
import time

first = os.open(sys.argv[1], os.O_RDONLY)  # buffered; nobody reads it
second = os.open(sys.argv[1], os.O_RDONLY)
threading.Thread(target=os.read, args=(second, 16), daemon=True).start()
time.sleep(3600)
