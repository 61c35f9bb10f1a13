"""What `inaho quickstart` does: plans a cluster of processes on this machine, starts it, tests it, and reports.

`inaho bench` starts its node with `plan` and `processes`. Nothing else imports from here.
"""
