"""The reference answers: ``solutions/ex_NN_K.py`` defines the answer of exercise NN.K.

Sets handed to students come without this package, and so does the sandbox.
"""
