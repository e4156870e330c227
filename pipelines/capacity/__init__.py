"""The capacity plan: what so many robots would need, and which limit breaks first.

`model` and `limits` are arithmetic alone; `files` reads what was measured and what is assumed.
"""
