"""The Open Inference Protocol v2 over HTTP, for Triton's and KServe's clients.

    body ──► decode ──► predict, for each image ──► outputs ──► encode ──► body
             codec                                              codec

`The protocol <https://github.com/kserve/open-inference-protocol>`_, and Triton's extensions of it
for `binary tensors
<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>`_
and for `classification
<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md>`_.
``docs/oip.md`` lists what is supported. The wire format (``schema``, ``tensors``, ``codec``) also
serves ``service/transformer``.
"""
