"""What a machine and its launcher offer, and how training is set up on it.

In come environment variables and devices, out goes a `Setup`. `auto` is the
way in.
"""
