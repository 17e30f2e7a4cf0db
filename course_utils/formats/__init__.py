"""Read files, byte by byte, and run nothing of them: the ground on which all else stands.

It reads what others wrote: zip archives, pickles, safetensors, the formats before PyTorch 1.6.
"""
