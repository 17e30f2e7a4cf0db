"""What wrappers of a model put into the keys of its state_dict."""

# DataParallel, DistributedDataParallel and AveragedModel; torch.compile;
# FullyShardedDataParallel; torch's checkpoint_wrapper.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

# What ``load_state_dict(assign=True)`` leaves in a state_dict's ``_metadata``.
ASSIGN_MARK = "assign_to_params_buffers"
