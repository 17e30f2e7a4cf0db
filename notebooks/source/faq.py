# %% [markdown]
# # You see this error
#
# Each message is raised by a test of the course, with PyTorch 2.14. Search this page (Ctrl+F) for a few words of
# yours.

# %% [markdown]
# ## Loading into a model
#
# ### `Missing key(s) in state_dict: "features.1.weight"`
# with `Unexpected key(s) in state_dict: "module.features.1.weight"`. **It means:** the names differ by a prefix;
# the model was saved inside `DataParallel`, DDP (`module.`) or `torch.compile` (`_orig_mod.`). **Do:** strip it with
# `consume_prefix_in_state_dict_if_present`, and save `model.module.state_dict()` next time. Not `strict=False`: that
# loads nothing, silently. (01, 03)
#
# ### `Missing key(s) in state_dict: "num_batches_tracked"`
# **It means:** the file has no BatchNorm counter: it is old, or was edited. **Do:** `dict(state)` drops the version
# information, and then the counter is not asked for. (01)
#
# ### `size mismatch for head.weight`
# **It means:** the name fits, the shape does not; often another number of classes. `strict=False` does not forgive
# it. **Do:** leave that entry out, or adapt it: `plan_partial_load`. (03)
#
# ### `object has no attribute 'eval'`
# **It means:** the file holds a state_dict, not a model. **Do:** build the model, then
# `model.load_state_dict(state)`. (01)
#
# ### `Cannot copy out of meta tensor; no data!`
# **It means:** a part of the model is still on the meta device: it was in no file, for example a buffer with
# `persistent=False`. **Do:** build buffers for real (`empty_parameters`), or recompute them. (04)

# %% [markdown]
# ## Reading a file
#
# ### `Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False`
# **It means:** the file was saved on a GPU, and there is none here. **Do:** `map_location="cpu"`. If you passed a dict:
# it does not name the file's tag. (04)
#
# ### `Weights only load failed`
# with `Unsupported global: GLOBAL …`. **It means:** the file wants to import something that is not on torch's short
# list. **Do:** `ckpt audit FILE` says what. If you wrote the file: store plain types. If you know the class:
# `safe_globals([Class])`. Otherwise leave it. (06)
#
# ### `Can't get attribute 'Net'`
# **It means:** a whole model was pickled, and its class is no longer where it was. **Do:** define or import the class
# under its old name once, load, and save the `state_dict`. (01)
#
# ### `No module named 'old_name'`
# **It means:** the same, and the whole file of the class was renamed. **Do:** the same. (01)
#
# ### `failed finding central directory`
# **It means:** the file was cut: a save was interrupted, or a download. **Do:** take the checkpoint before; and save
# atomically from now on. (07)
#
# ### `Ran out of input`
# **It means:** the file is empty: a save died right at its start. **Do:** as above. (07)
#
# ### `invalid load key, '<'`
# **It means:** the file is no checkpoint. `<` is a web page in place of a download, `v` a Git LFS pointer
# (`version https://git-lfs…`). **Do:** open it with a text editor; download it again, or `git lfs pull`.
#
# ### `with TorchScript archives`
# **It means:** the file is a TorchScript program. **Do:** `torch.jit.load`, if you trust it. (05)
#
# ### `Error while deserializing header`
# **It means:** the file is no safetensors file, or it was cut. **Do:** `ckpt inspect FILE` says what it is. (06)

# %% [markdown]
# ## Resuming
#
# ### `loaded state dict contains a parameter group that doesn't match the size of optimizer's group`
# **It means:** the optimizer has another number of parameters than the one that was saved. **Do:** build model and
# groups by the same code; for another task, start a fresh optimizer. (01, 03)
#
# ### `The size of tensor a (6) must match the size of tensor b (4)`
# in `optimizer.step()`. **It means:** the optimizer's state was loaded for parameters of other shapes; loading does not
# compare them. **Do:** a fresh optimizer. (03)
#
# ### `param 'initial_lr' is not specified in param_groups[0]`
# **It means:** a scheduler was given `last_epoch` to fake progress. **Do:** load the scheduler's state_dict. (02)
#
# ### `RNG state must be a torch.ByteTensor`
# **It means:** `map_location` moved the generator's state, or made it another type. **Do:** keep it on the CPU. (02)
#
# ### `The source state dict is empty`
# **It means:** the gradient scaler that was saved was disabled. **Do:** do not load it, or enable the one that
# saves. (02)
#
# ### `If capturable=True, params and state_steps must be on supported devices`
# **It means:** the checkpoint came from an optimizer for CUDA graphs and made yours one. **Do:**
# `move_optimizer(optimizer)`, or set `capturable` to `False` in its groups. (04)

# %% [markdown]
# ## Saving
#
# ### `Can't pickle`
# **It means:** something in the state is no plain value: a lambda, a generator, an open file. **Do:** save state_dicts and
# plain types; LambdaLR leaves its lambda out by itself. (02)
#
# ### `Some tensors share memory`
# **It means:** safetensors stores each tensor once. **Do:** `save_model`, which notes the second name. (06)
#
# ### `unexpected pos`
# **It means:** writing failed in the middle, often a full disk. The old file is already gone. **Do:** free space, save
# again, and use a save that replaces. (07)
