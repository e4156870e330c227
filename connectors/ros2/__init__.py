"""ROS 2 messages: schema texts, CDR payloads decoded in bulk, and their way into the tables.

No file format is known here; every source that meets ROS 2 payloads shares this package.
"""
