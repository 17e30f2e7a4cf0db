"""What runs inside the sandbox: the server that stays warm, and the session of one submission.

Nothing here is trusted by the side outside: it takes bytes of bounded size and reads plain data.
"""
