"""Decoding one recording into staged files, inside a limited child process."""
