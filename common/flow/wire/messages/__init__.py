"""What goes over the wire: one frozen type per message, by direction.

``shared`` holds the values several messages carry, ``worker`` the messages between a worker
agent and the coordinator, ``client`` those between a command and the coordinator, ``codec`` turns
bytes into typed messages and back, under explicit limits. Every message is a msgpack array that
starts with its number; fields are only ever appended (with a default), so that a newer peer's
extra fields are ignored. Nothing here knows sockets, clocks or state. ``PROTOCOL.md`` beside them
is the law that both sides keep: who may run a task, and when.
"""
