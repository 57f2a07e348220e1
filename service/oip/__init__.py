"""The Open Inference Protocol v2 over HTTP, as Triton's and KServe's clients speak it.

    body ──► inflate ──► decode ──► predict, for each image ──► outputs ──► encode ──► body
             compression    codec                                              codec

`The protocol <https://github.com/kserve/open-inference-protocol>`_, and Triton's extensions of it
for `binary tensors
<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>`_
and for `classification
<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md>`_.
What is supported is in ``docs/oip.md``.
"""
