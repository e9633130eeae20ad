"""One client request and its response, stage by stage: decide, translate, respond.

Sans-IO: plain values in, `actions` out. What a stage must know of an earlier one it reads from
Envoy's dynamic metadata (`dragoman.metadata`), never from memory, so that any worker serves any
stage of any request.
"""
