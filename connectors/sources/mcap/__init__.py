"""MCAP recordings, their ROS 2 payloads decoded in bulk."""
