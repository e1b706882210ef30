"""containerd's messages as Python classes: the ``*_pb2`` modules are generated from the ``.proto`` files beside them.

``python -m spinney_node.drivers.containerd.pb.generate`` (needs grpcio-tools) makes them again.
"""
