"""Bad inputs by number, made at test time, and the answer to each."""
