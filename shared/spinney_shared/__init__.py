"""What every tier of Spinney must agree on: the model, the messages, the sync protocol, and the shells around them.

The pure half (``model``, ``lifecycle``, ``messages``, ``topics``, ``sync``) knows nothing of brokers, databases or
clocks; the other half (``bus``, ``store``, ``loop``, ``config``) carries out what the pure half decides.
"""
