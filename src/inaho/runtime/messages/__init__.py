"""Messages between the actors of two processes: tell, ask and watch by Pid (SPEC CL-2, CL-3).

It imports `calls` and the rooms below. `control` and above may import from it.
"""
