# %% [markdown]
# # Glossary
#
# The course's words, in one or two sentences each. The number says which lesson explains them.

# %% [markdown]
# ## Models and training
#
# ### state_dict
# A dictionary from names to tensors: what a model or an optimizer knows. It shares memory with the living
# object. (01)
#
# ### buffer
# A tensor of a module that is not trained: BatchNorm's running mean, for example. It is saved unless it was
# registered with `persistent=False`. (01)
#
# ### tied weights
# One tensor under two names, as when the decoder uses the encoder's weight. (01)
#
# ### moment
# What Adam remembers of each parameter: running averages of its gradient and of the gradient's square. An
# optimizer's memory is matched by position, not by name. (01)
#
# ### running statistics
# The averages of mean and variance that BatchNorm collects in training and uses in `eval()`. Lost, they do
# not show in any training loss. (02)
#
# ### exponential moving average
# EMA: a second set of weights that follows the first slowly. Often the one that is shipped. (02)
#
# ### scaler
# In mixed precision: the factor that keeps small gradients from vanishing, and its search for a good
# size. (02)
#
# ### sampler
# What decides the order of the images in an epoch. To resume in the middle, it must know its place. (02)
#
# ### fine-tuned
# Trained on from weights that were learned elsewhere, often with a new head. (03)

# %% [markdown]
# ## Files
#
# ### checkpoint
# A file, or a folder, that holds all the state from which a run continues. (02)
#
# ### exact resume
# The continued run gives the same bits as one that was never stopped. (02)
#
# ### pickle
# Python's way to write objects: a program for a small machine with a stack. Reading one runs it. (01, 06)
#
# ### opcode
# One instruction of a pickle. `GLOBAL` fetches a function, `REDUCE` calls it. (01)
#
# ### archive
# A `.pt` file is a zip archive: records, and a directory at its end. (01)
#
# ### storage
# The numbers in memory, or one record in a file. A tensor is a window on a storage. (01)
#
# ### CRC-32
# A checksum of four bytes for each record. It finds accidents, not attackers. (07)
#
# ### safetensors
# A format without a program: a JSON header and numbers. (06)
#
# ### weights_only
# The mode in which `torch.load` calls only what is on a short list. Safer, not safe. (06)

# %% [markdown]
# ## Devices and memory
#
# ### location tag
# The device that is written beside each storage in a file, such as `cuda:0`. (04)
#
# ### meta device
# A device with shapes and without numbers: for building a model that takes no memory yet. (04)
#
# ### mapped
# Of a file, with `mmap`: its pages are read when they are first touched. The file must stay as it is. (04, 07)

# %% [markdown]
# ## Crashes
#
# ### SIGKILL
# The signal that no program can catch: nothing runs afterwards. (00, 02)
#
# ### fsync
# The call that waits until data, or a name, is on the disk and not only in the system's memory. (07)
#
# ### atomic
# All or nothing, whatever happens meanwhile. `os.replace` is; writing a file is not. (07)
#
# ### torn
# Of a file: only a part was written when the process or the power went. (07)

# %% [markdown]
# ## Many processes
#
# ### rank
# One of the processes of a job, and its number. (08)
#
# ### shard
# The part of a tensor that one rank holds. (08)
#
# ### DTensor
# A tensor that knows its shard and the whole. (08)
#
# ### commit record
# The file that is written last, and without which a folder does not count as a checkpoint. (08)

# %% [markdown]
# ## Programs
#
# ### trace
# To run a module once and write down each operation. A branch keeps the way it went. (05)
#
# ### TorchScript
# PyTorch's older language for models without Python; legacy. (05)
#
# ### exported program
# What `torch.export` makes: a graph of operators with guards on its sizes. (09)
#
# ### AOTInductor
# The compiler that turns an exported program into machine code. (09)
#
# ### guard
# A check of sizes and types before a program runs. (09)
