# %% [markdown]
# # Cheat sheet
#
# One page to print (*File*, *Print*).

# %% [markdown]
# | you want to | do |
# |---|---|
# | **look** at a file without loading it | `ckpt inspect FILE`, `read_archive(path)` |
# | know what loading it would run | `ckpt audit FILE`, `audit(path)` |
# | know whether it is damaged | `ckpt verify FILE`, `zipfile.ZipFile(path).testzip()` |
# | **save** weights | `torch.save(model.state_dict(), path)` |
# | save so that no crash costs you the old file | `save_checkpoint(path, state)`, or: temporary file in the same folder, `fsync`, `os.replace`, `fsync` of the folder |
# | save a slice | `tensor[:4].clone()` |
# | keep the best weights in memory | `copy.deepcopy(model.state_dict())` |
# | publish weights | `safetensors.torch.save_model(model, path)` |
# | **load** | `model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))`, then `model.eval()` |
# | load a part | `plan = plan_partial_load(model, path)`, read it, `plan.apply()` |
# | strip a prefix | `consume_prefix_in_state_dict_if_present(state, "module.")` |
# | load a huge model once | `with empty_parameters(): model = Net()`, then `load_into_meta(model, path)` |
# | load an old file that is refused | `audit` it; then `safe_globals` for classes you know, or `ckpt convert` |
# | **resume** | build model, optimizer, scheduler; then load all of them; `TrainState`, `CheckpointManager` |
# | resume with another learning rate | set it in `param_groups` *and* in `scheduler.base_lrs`; a cosine's `eta_min`, too |
# | resume in the middle of an epoch | save the sampler's place; `ResumableSampler` |
# | test a resume | train on; compare *states* with a run that was never stopped |
# | **many processes** | `get_state_dict`, `dcp.save`; `dcp.load`, `set_state_dict` |
# | **leave Python** | `torch.export` first; AOTInductor for C++, ONNX for other runtimes, ExecuTorch for small devices |

# %% [markdown]
# **A checkpoint of a training run holds:** model with buffers · optimizer · scheduler · scaler · EMA · random
# numbers of Python, NumPy, PyTorch and each GPU · the sampler's epoch and place · completed epochs and steps.
#
# **The order that works:** build the model → move it to its device → load into it → build the optimizer → load its
# state. With `assign=True` or a new head, the optimizer comes after, always.
#
# **Never:** `weights_only=False` for a stranger's file · `pickle_module=` · `strict=False` without reading what it
# returns · writing over a file that is mapped · removing the old checkpoint before the new one is durable.
