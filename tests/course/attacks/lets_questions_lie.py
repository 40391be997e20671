# Never reads what it is sent: a grader that writes and waits would wait for ever.
# loses: all
# wall: 2
import time

time.sleep(60)
