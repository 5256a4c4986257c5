"""Packed cells on a GPU: Triton kernels between two batch norms, nothing normalised written down.

What `engine.fused` does on a CPU.  Importing a module of this room imports Triton, which torch
brings where it supports CUDA.
"""
