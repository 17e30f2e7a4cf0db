# %% [markdown]
# # 03 · Partial loading
#
# A checkpoint rarely fits the model you have. The task has other classes, the camera has one
# channel, the keys have a prefix. You want what fits, and you want to know what did not.
#
# After it you will be able to
#
# - load the part of a checkpoint that fits, and say exactly which part that was,
# - carry weights over to another head, another input, a larger vocabulary or finer patches,
# - decide when a pretrained start pays, and fine-tune it without hidden traps.
#
# **Time:** 45 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb).

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>Loading a float16 state_dict into a float32 model: which dtype has the model?
# (01)</summary>
#
# float32. Loading copies values; the model's dtype stays.
# </details>
# <details><summary>Which two prefixes cause most of the complaints? (01)</summary>
#
# `module.` from DataParallel and DDP, `_orig_mod.` from `torch.compile`.
# </details>
# <details><summary>Why is comparing training losses not enough to test a resume? (02)</summary>
#
# Lost BatchNorm statistics or averages leave every training loss as it was.
# </details>

# %%
import copy

import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy

from course_utils.lessons import lesson, measure, plots, transfer
from course_utils.lessons.data import digits
from course_utils.lessons.models import DigitsCNN
from course_utils.partial import plan as partial
from course_utils.partial import plan_partial_load
from course_utils.partial import shapes as resize

scratch = lesson.start("03_partial_loading")

# %% [markdown]
# ## 1. The three-step filter
#
# We train a small network on the digits 0 to 5. It has six outputs. Then we want to tell
# 6, 7, 8 and 9 apart: four outputs.

# %%
pretrained = transfer.pretrain()
torch.save(pretrained.state_dict(), scratch / "digits_0_to_5.pt")

model = DigitsCNN(num_classes=4)
pretrained_dict = torch.load(scratch / "digits_0_to_5.pt")
with lesson.expect_error(RuntimeError, match="size mismatch"):
    model.load_state_dict(pretrained_dict)

# %% [markdown]
# The recipe you find everywhere has three steps: **filter** the checkpoint by key, **update** the
# model's own state_dict with what is left, **load** the result. After the update no key is missing
# and none is unexpected, so even the strict load is content.

# %%
model_dict = model.state_dict()
# 1. filter out what the model does not have
pretrained_dict = {k: v for k, v in pretrained_dict.items() if k in model_dict}
# 2. overwrite entries in the model's own state_dict
model_dict.update(pretrained_dict)
# 3. load the new state_dict
with lesson.expect_error(RuntimeError, match="size mismatch"):
    model.load_state_dict(model_dict)

# %% [markdown]
# Still the head: its *key* is known, its *shape* is not. The filter must look at both.

# %%
model_dict = model.state_dict()
fits = {
    k: v for k, v in pretrained_dict.items() if k in model_dict and v.shape == model_dict[k].shape
}
model_dict.update(fits)
model.load_state_dict(model_dict)
print(f"{len(fits)} of {len(model_dict)} keys came from the checkpoint")
print("left out:", [k for k in pretrained_dict if k not in fits])
assert torch.equal(model.features[0][0].weight, pretrained.features[0][0].weight)

# %% [markdown]
# This works. It is also silent: it would be just as content if *nothing* had fitted. You see what
# was left out only if you print it.
#
# **Try it:** let the filter compare shapes only, not names. What goes where?
#
# ## 2. What strict=False hides
#
# The shorter recipe is `load_state_dict(…, strict=False)`. Many people believe that it loads what
# it can and raises when something is really wrong. Let us see. The checkpoint below was saved from
# a model inside `nn.DataParallel`.
#
# **Predict.** Every key of the file begins with `module.`, and we load with `strict=False`. How
# many tensors are loaded, and does anything complain?
#
# <details><summary>A. All: <code>strict=False</code> matches names loosely.</summary>
#
# It matches nothing loosely. It only keeps silent about what does not match.
# </details>
# <details><summary>B. None, and there is a warning.</summary>
#
# There is no warning. The returned object lists the keys, but nobody looks at it.
# </details>
# <details><summary>C. None, and there is neither an error nor a warning.</summary>
#
# Right. Every key is both "missing" under its right name and "unexpected" under the other. (17
# and not 20 are missing: BatchNorm's three counters are forgiven, as in an old file.)
# </details>
# <details><summary>D. None, and there is an error: not a single key fits.</summary>
#
# Many people believe that. `strict=False` has no lower limit.
# </details>

# %%
wrapped = nn.DataParallel(pretrained).state_dict()
model = DigitsCNN(num_classes=6)
before = copy.deepcopy(model.state_dict())
result = model.load_state_dict(wrapped, strict=False)
changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
print("first key of the file: ", next(iter(wrapped)))
print("tensors loaded:        ", len(changed))
print("missing and unexpected:", len(result.missing_keys), "and", len(result.unexpected_keys))


# %%
@torch.no_grad()
def accuracy(model, classes, first_label=0):
    """Share of the test images of these digits that the model names rightly."""
    images, labels = digits(train=False, classes=classes, size=transfer.IMAGE_SIZE).tensors
    return (model.eval()(images).argmax(1) == labels - first_label).float().mean().item()


known, loaded = accuracy(pretrained, range(6)), accuracy(model, range(6))
assert known > 0.97 and loaded < 0.4 and not changed

# %% tags=["nbval-ignore-output"]
print(
    f"accuracy of the model that was saved: {known:.2f}, of the one that was 'loaded': {loaded:.2f}"
)

# %% [markdown]
# Guessing one of six digits is right in 0.17 of the cases. Random networks lie around that (0.12 to 0.27
# for a few seeds): they answer the same digit for most images.
#
# **Try it:** strip the prefix first, and load with `strict=False` again. How many tensors change now?

# %% [markdown]
# And the one thing that `strict=False` does *not* forgive is the very thing people use it for:
# another shape.

# %%
with lesson.expect_error(RuntimeError, match="size mismatch"):
    DigitsCNN(num_classes=4).load_state_dict(pretrained.state_dict(), strict=False)

# %% [markdown]
# ## 3. Plan first, then load
#
# The cure is to make the decision visible. `plan_partial_load` compares a checkpoint with a model
# and returns a report. Nothing has changed yet. The bar shows the share of the model's *numbers*
# that would be loaded: sixteen small tensors may fit while the one that matters does not.

# %%
model = DigitsCNN(num_classes=4)
plan = plan_partial_load(model, wrapped)
plan

# %% [markdown]
# The `module.` prefix was recognised, and each changed name is listed under `renamed`. The head is
# under `wrong_shape`. Those lists are attributes, so a program can insist on them. Only `apply`
# changes the model.

# %%
assert set(plan.wrong_shape) == {"head.weight", "head.bias"}
assert not plan.missing and plan.coverage > 0.98
plan.apply()
differing = (model.features[2][0].weight != pretrained.features[2][0].weight).sum()
print(f"weights of the third convolution that differ now: {int(differing)}")
assert differing == 0

# %% [markdown]
# Prefixes also come from `torch.compile` (`_orig_mod.`), and they nest. Where the names differ in
# another way, say how: with a mapping, with pairs of a regular expression and its replacement, or
# with a function.

# %%
compiled = torch.compile(nn.DataParallel(pretrained)).state_dict()
old_names = {k.replace("features", "backbone.stage"): v for k, v in pretrained.state_dict().items()}
for name, source, rename in [
    ("compiled and wrapped", compiled, None),
    ("other names, not renamed", old_names, {}),
    ("other names, renamed", old_names, [(r"^backbone\.stage\.", "features.")]),
]:
    plan = plan_partial_load(DigitsCNN(num_classes=6), source, rename=rename)
    print(f"{name:25} {next(iter(source)):40} {plan.headline}")

# %% [markdown]
# In the second line only the head has the right name. That is 1.6 % of the numbers, and the report says
# so. Three things are not reported but refused, since nobody can have meant them.

# %%
with lesson.expect_error(partial.MismatchedCheckpointError):
    plan_partial_load(nn.Linear(64, 4), pretrained.state_dict())
with lesson.expect_error(partial.MismatchedCheckpointError):
    plan_partial_load(
        DigitsCNN(num_classes=6), pretrained.state_dict(), rename=[(r"features\.\d", "features.0")]
    )

# %%
huge = {k: torch.full_like(v, 100_000) for k, v in pretrained.state_dict().items()}
half = DigitsCNN(num_classes=6).half()
before = copy.deepcopy(half.state_dict())
plan = plan_partial_load(half, huge)
with lesson.expect_error(partial.MismatchedCheckpointError):
    plan.apply()
changed = [k for k, v in half.state_dict().items() if not torch.equal(v, before[k])]
print(f"tensors of the model that changed: {len(changed)} of {len(before)}")
half.load_state_dict(huge)
print(f"infinities in the head after load_state_dict: {int(half.head.weight.isinf().sum())}")
assert not changed and half.head.weight.isinf().all()

# %% [markdown]
# Either the whole plan is carried out, or the model stays as it was, also when a file turns out
# to be damaged or a module refuses its extra state. This is how: everything that can fail is done before
# the first copy, and each copy knows its way back.

# %%
lesson.show_source(partial.LoadPlan.apply)

# %% [markdown]
# **Try it:** a mapping `{"head.weight": "features.0.0.weight"}` as `rename=`. What does the report say?

# %% [markdown]
# ## 4. ResNet-18, made to fit
#
# torchvision publishes weights for its models. `ResNet18_Weights` names them, says what they are, and
# downloads them. The course calls that real path. Where the network is closed it takes random
# weights of the same names and shapes instead, and says so.

# %% tags=["nbval-ignore-output"]
from torchvision.models import ResNet18_Weights, resnet18

from course_utils.lessons.pretrained import imagenet_resnet18

imagenet = imagenet_resnet18()
lesson.print_folded(imagenet.message)

# %%
weights = ResNet18_Weights.IMAGENET1K_V1
print("from:        ", weights.url)
print("classes:     ", len(weights.meta["categories"]), "such as", weights.meta["categories"][1])
print("keys:        ", sum("num_batches" not in key for key in imagenet.state_dict))
assert imagenet.state_dict["fc.weight"].shape == (1000, 512)

# %% [markdown]
# (BatchNorm's counters are not counted: files saved before PyTorch 0.4.1 lack them.)
#
# We want ten classes and grey images. Two layers have another shape. For each there is a
# *strategy*: a function that gets the checkpoint's tensor and the model's own, and returns one that fits.
#
# A first convolution with fewer or more input channels keeps the **sum of its weights over the
# channels**. For one channel that means: add red, green and blue.
#
# **Predict.** The new one-channel convolution holds the sum of the old weights over red, green
# and blue. A grey photograph goes through it, and the same photograph, repeated three times,
# through the old one. How do the responses differ?
#
# <details><summary>A. They are a third: one channel in place of three.</summary>
#
# It would be so if we had taken the *mean* of the weights.
# </details>
# <details><summary>B. Not at all, but for rounding.</summary>
#
# Right. `r·x + g·x + b·x` is `(r + g + b)·x`.
# </details>
# <details><summary>C. A lot: the filters were learned on colour.</summary>
#
# A filter is linear. For an image whose three channels are equal, only the sum matters.
# </details>

# %% tags=["nbval-ignore-output"]
net = resnet18(num_classes=10)
net.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
plan = plan_partial_load(
    net, imagenet.state_dict, resize={"conv1.weight": resize.adapt_input_channels}
)
plan.apply()
plan

# %% tags=["nbval-ignore-output"]
grey = torch.rand(1, 1, 32, 32)
new = conv2d(grey, net.conv1.weight)
old = conv2d(grey.expand(-1, 3, -1, -1), imagenet.state_dict["conv1.weight"])
print(f"largest response {old.abs().max():.0f}, largest difference below 1e-4")
assert torch.allclose(new, old, atol=1e-4)
assert set(plan.wrong_shape) == {"fc.weight", "fc.bias"} and not plan.unexpected
assert not any(key.endswith(("weight", "bias", "mean", "var")) for key in plan.missing)
lesson.show_source(resize.adapt_input_channels)

# %% [markdown]
# The new head has no counterpart among ImageNet's classes, so it stays under `wrong_shape` and
# keeps its fresh values: that is right here. When a model only gets *more* classes, keep the
# old rows. When a vocabulary grows, a new token starts at the mean of the old ones. When the
# order of the classes changes, match the rows by name.


# %%
class Tagger(nn.Module):
    """A word embedding and a classifier."""

    def __init__(self, words, classes):
        super().__init__()
        self.embedding = nn.Embedding(words, 8)
        self.head = nn.Linear(8, classes)


torch.manual_seed(0)
trained, larger = Tagger(words=100, classes=3), Tagger(words=104, classes=4)
plan = plan_partial_load(
    larger,
    trained.state_dict(),
    resize={
        "embedding.weight": resize.grow_embedding,
        "head.*": resize.match_rows(["noun", "verb", "other"], ["other", "name", "noun", "verb"]),
    },
)
plan.apply()
print(plan)
kept = (larger.embedding.weight[:100] == trained.embedding.weight).all(dim=1).sum()
print(f"words of 100 with their old embedding: {int(kept)}")
print(
    "row of 'noun' before and after:",
    [f"{head.weight[i, 0].item():.3f}" for head, i in ((trained.head, 0), (larger.head, 2))],
)
assert kept == 100 and torch.equal(larger.head.weight[2], trained.head.weight[0])
assert torch.allclose(larger.embedding.weight[100:], trained.embedding.weight.mean(0))

# %% [markdown]
# A vision transformer has an embedding for each patch's *place*. Finer patches are more places. The
# embeddings form a picture, so it can be resized like one. Here is one number of each
# embedding, before and after.

# %% jupyter={"source_hidden": true}
row, column = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
places = torch.stack([row, column, (row - column).cos()], dim=-1).reshape(1, 16, 3)
with_class_token = torch.cat([torch.full((1, 1, 3), 9.0), places], dim=1)
finer = resize.interpolate_positions(with_class_token, torch.empty(1, 65, 3))
print("before:", list(with_class_token.shape), " after:", list(finer.shape))
print("class token before:", with_class_token[0, 0].tolist(), " after:", finer[0, 0].tolist())
assert torch.equal(finer[:, 0], with_class_token[:, 0])

fig, axes = plots.figure(7.5, 2.9, ncols=2)
for axis, embedding, side in [(axes[0], with_class_token, 4), (axes[1], finer, 8)]:
    picture = axis.imshow(embedding[0, 1:, 2].reshape(side, side), cmap="cividis", vmin=-1, vmax=1)
    axis.set(xlabel="patch column", ylabel="patch row", title=f"{side} × {side} patches")
    axis.grid(False)
fig.colorbar(picture, ax=axes, label="value of one embedding number")
plots.show(
    fig,
    alt="Two square heat maps of a wave along the diagonal: four by four coarse cells on the left, "
    "eight by eight cells with the same pattern on the right.",
    caption="The same pattern on a finer grid: places in between get values in between.",
)

# %% [markdown]
# **Try it:** adapt the first convolution to *six* channels. By what is each weight multiplied?

# %% [markdown]
# ## 5. From a large file, read only what fits
#
# A file is not a state_dict: it must be read. But a `.pt` file has a directory (lesson 01), and it
# tells where each tensor lies. So a plan from a *path* reads the directory, and `apply` reads the
# tensors it needs and not a byte more. Here is one layer out of a file of 200 MB.
#
# **Predict.** We want one layer, 1 % of a file of 200 MB. How many bytes does `torch.load` read
# to get it, and how many does the plan?
#
# <details><summary>A. Both read 200 MB: a file is read from its start to its end.</summary>
#
# A zip has a directory with places, so a reader may jump.
# </details>
# <details><summary>B. Both read 2 MB: a zip is read by record.</summary>
#
# `torch.load` builds everything that is in the pickle, and so reads every record.
# </details>
# <details><summary>C. <code>torch.load</code> 200 MB, the plan about 2 MB.</summary>
#
# Right. The plan reads the directory and the pickle, a few thousand bytes, and then this layer's
# record.
# </details>

# %%
layers = {f"layers.{i}.weight": torch.rand(500, 1000) for i in range(100)}
torch.save(layers, scratch / "large.pt")
size = (scratch / "large.pt").stat().st_size
wanted = nn.Sequential(nn.Linear(1000, 500, bias=False))

with measure.reading() as whole:
    torch.load(scratch / "large.pt")
with measure.reading() as planning:
    plan = plan_partial_load(wanted, scratch / "large.pt", rename={"layers.42.weight": "0.weight"})
with measure.reading() as applying:
    plan.apply()
assert torch.equal(wanted[0].weight, layers["layers.42.weight"])
print(plan.headline)

# %% jupyter={"source_hidden": true}
if whole.bytes is None:
    print("this system does not count the bytes a process reads")
else:
    counts = {"torch.load": whole.bytes, "plan": planning.bytes, "apply": applying.bytes}
    fig, axis = plots.figure(7.5, 2.0)
    axis.plot([n / 1e6 for n in counts.values()], list(counts), "o", ms=10, color=plots.BLUE)
    axis.set(xscale="log", xlabel="bytes read (MB; each step to the right is ten times more)")
    axis.set(xlim=(0.005, 1000))
    axis.margins(y=0.3)
    axis.invert_yaxis()
    plots.show(
        fig,
        alt="Three dots on a logarithmic scale. torch.load read 200 megabytes, the plan some "
        "hundredths of one, applying it two.",
        caption="To load one layer of a hundred, the plan and its application read one hundredth.",
    )
    print(f"file: {size / 1e6:.0f} MB. torch.load read {whole.bytes / 1e6:.0f} MB, ", end="")
    print(f"plan and apply {(planning.bytes + applying.bytes) / 1e6:.1f} MB")
    assert planning.bytes + applying.bytes < 0.011 * size <= 0.011 * (whole.bytes + 1e5)

# %% [markdown]
# And since the directory is read without running the pickle, planning from a stranger's file is
# safe, too (lesson 06).
#
# **Try it:** ask for layers 41 *and* 42. How many bytes are read?
#
# ## 6. Does it pay?
#
# Back to the digits. We know 0 to 5; of 6 to 9 we have twenty labelled images, five of each. Three
# ways to start:
#
# - **scratch**: random weights,
# - **fine-tuned**: the pretrained features and a new head, all of it trained,
# - **frozen**: the pretrained features kept as they are, only the head trained.
#
# Everything else is the same, five seeds each. We do it twice: with the clean images, and with a bad camera that
# adds much noise to every image.

# %% jupyter={"source_hidden": true}
images, _ = digits(classes=[6, 7, 8, 9], size=16).tensors
fig, axes = plots.figure(7.5, 1.9, nrows=2, ncols=8)
for column, image in enumerate(images[:8, 0]):
    for axis, noise in zip(axes[:, column], (0.0, 0.5), strict=True):
        shades = {"vmin": -2 * noise, "vmax": 1 + 2 * noise}
        axis.imshow(image + noise * torch.randn(16, 16), cmap="gray_r", **shades)
        axis.axis("off")
plots.show(
    fig,
    alt="Eight handwritten digits in two rows: clean above, below the same under grainy noise, in "
    "which most are hard to tell.",
    caption="Above the clean images, below what the bad camera sees. Ink is 1, paper 0, the noise "
    "has a standard deviation of 0.5.",
)
print("training images of the new digits:", len(images), "of which each run gets 20")

# %%
curves = {}
for noise, network in lesson.progress(
    [(0.0, pretrained), (0.5, transfer.pretrain(noise=0.5))], "training 30 small networks"
):
    curves[noise] = transfer.compare_starts(network, noise, seeds=range(5))


def accuracies(noise, start):
    """One row for each seed, one column for each milestone."""
    return torch.tensor([c.accuracies for c in curves[noise] if c.start == start])


# %% [markdown]
# **Predict.** Where does the pretrained start help more in the end, with clean or with noisy
# images?
#
# <details><summary>A. With clean ones: that is what it was trained on.</summary>
#
# There it is much *faster*. But twenty clean images are enough to learn from nothing, and the
# start from scratch catches up.
# </details>
# <details><summary>B. With noisy ones.</summary>
#
# Right. To find strokes in noise must be learned from many images, and only the pretrained
# network (trained on noisy ones here) has seen many.
# </details>
# <details><summary>C. The same: a good start is a good start.</summary>
#
# A start is worth what you could not have learned from the data you have.
# </details>

# %% jupyter={"source_hidden": true}
fig, axes = plots.figure(8, 3.6, ncols=2, sharey=True)
colors = dict(zip(transfer.STARTS, [plots.GREY, plots.BLUE, plots.ORANGE], strict=True))
for axis, (noise, title) in zip(axes, [(0.0, "clean images"), (0.5, "noisy images")], strict=True):
    for start, color in colors.items():
        runs = accuracies(noise, start)
        axis.plot(transfer.MILESTONES, runs.mean(0), "o-", ms=4, color=color, label=start)
        low, high = runs.min(0).values, runs.max(0).values
        axis.fill_between(transfer.MILESTONES, low, high, color=color, alpha=0.2, lw=0)
    axis.axhline(0.25, color=plots.GREY, ls=":", lw=1)
    axis.set(xlabel="optimizer step", title=title, ylim=(0.15, 1))
axes[0].set_ylabel("test accuracy")
axes[0].legend(loc="lower right")
plots.show(
    fig,
    alt="Test accuracy against optimizer step, clean images on the left, noisy on the right, with "
    "bands over five seeds. Left: fine-tuned is high at once and scratch reaches it at step 60. "
    "Right: fine-tuned ends well above scratch, and frozen lies between.",
    caption="Lines: mean of five seeds; bands: from the worst to the best. Dotted: guessing. Clean, the "
    "pretrained start wins time; noisy, it wins accuracy.",
)

# %% tags=["nbval-ignore-output"]
lesson.show_table(
    [
        (
            f"{'noisy' if noise else 'clean'}, step {transfer.MILESTONES[at]}",
            *(f"{accuracies(noise, start)[:, at].mean():.2f}" for start in transfer.STARTS),
        )
        for noise in (0.0, 0.5)
        for at in (2, -1)
    ],
    ["mean test accuracy", *transfer.STARTS],
)

# %% tags=["nbval-ignore-output"]
clean, noisy = (
    [accuracies(noise, start)[:, -1].mean() for start in ("scratch", "fine-tuned")]
    for noise in (0.0, 0.5)
)
for name, (scratch_start, tuned) in (("clean", clean), ("noisy", noisy)):
    print(f"{name}, in the end: from scratch {scratch_start:.2f}, fine-tuned {tuned:.2f}")
assert abs(clean[1] - clean[0]) < 0.05 and noisy[1] - noisy[0] > 0.12

# %% [markdown]
# Take the left panel as a warning. Had we stopped at step 20, we would have reported a great win,
# and it would have been a win of training time only. Large studies found the same: with
# enough data and patience, a start from scratch often catches up. Compare at the end of training, and
# with several seeds.
#
# **Try it:** forty labelled images in place of twenty (`transfer.compare_starts` has the number). Which gap closes?
#
# ## 7. Four traps in fine-tuning
#
# **Frozen weights are not a frozen layer.** `requires_grad = False` stops the optimizer. But
# BatchNorm also has running statistics, and in train mode every forward pass moves them.

# %%
frozen = transfer.pretrain()
frozen.requires_grad_(False)
drift = [accuracy(frozen, range(6))]
for _ in range(60):
    frozen.train()
    frozen(images[:20] + 0.5)  # the new camera's pictures are a little darker
    drift.append(accuracy(frozen, range(6)))
assert drift[-1] < drift[0] - 0.25

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
fig, axis = plots.figure(7.5, 2.8)
axis.plot(drift, color=plots.RED)
axis.set(xlabel="forward pass in train mode", ylabel="accuracy on digits 0 to 5", ylim=(0, 1.05))
plots.show(
    fig,
    alt="Accuracy on the old digits against number of forward passes: it starts near one and falls "
    "steeply within twenty passes, although no weight changes.",
    caption="No weight has changed, no optimizer exists: the running statistics alone ruin the network.",
)
print(f"accuracy before {drift[0]:.2f}, after 60 passes {drift[-1]:.2f}")

# %% [markdown]
# So a frozen part must also be in eval mode. `model.train()` wakes it, therefore freeze again after
# each call.

# %%
lesson.show_source(transfer.freeze)
frozen = transfer.pretrain()
before = copy.deepcopy(frozen.state_dict())
for _ in range(60):
    frozen.train()
    transfer.freeze(frozen.features)
    frozen(images[:20] + 0.5)
changed = [k for k, v in frozen.state_dict().items() if not torch.equal(v, before[k])]
print(f"tensors that changed in 60 passes: {len(changed)} of {len(before)}")
assert all(torch.equal(v, before[k]) for k, v in frozen.state_dict().items())

# %% [markdown]
# **A head replaced after the optimizer was built is never trained.** The optimizer holds the
# parameters it was given, not the model.
#
# **Predict.** The optimizer is built, then `model.head` is replaced by a new layer. Which
# parameters does `optimizer.step()` change?
#
# <details><summary>A. All of the model's.</summary>
#
# The optimizer was given a list of parameters. It does not know the model.
# </details>
# <details><summary>B. The features and the new head.</summary>
#
# The new head is in no list. It keeps its random values, and nothing complains.
# </details>
# <details><summary>C. Only the features, and nothing of any head.</summary>
#
# Right for the model as it is now. (The old head is still in the list, but gets no gradient any
# more.)
# </details>
# <details><summary>D. None: there is an error, as a parameter is missing.</summary>
#
# A parameter without a gradient is skipped without a word.
# </details>

# %%
model = DigitsCNN(num_classes=6)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
model.head = nn.Linear(64, 4)


def one_step(model, optimizer):
    """Train one step on the new digits; return the names of the parameters that changed."""
    before = copy.deepcopy(dict(model.named_parameters()))
    images, labels = digits(classes=[6, 7, 8, 9], size=16).tensors
    optimizer.zero_grad()
    cross_entropy(model.train()(images[:32]), labels[:32] - 6).backward()
    optimizer.step()
    return [k for k, p in model.named_parameters() if not torch.equal(p, before[k])]


changed = one_step(model, optimizer)
print(
    f"{len(changed)} of {len(list(model.parameters()))} parameters changed:", *changed, sep="\n  "
)
assert len(changed) == 9 and not any(name.startswith("head") for name in changed)

# %% [markdown]
# The order that always works: **build the model, load into it, build the optimizer.** (`plan.apply()`
# copies into the tensors that are there, so an optimizer that exists stays right. Replacing
# modules, or `load_state_dict(…, assign=True)`, cuts it off.)
#
# **New and old parts want different learning rates.** Give each its own parameter group: small for what
# is already good, larger for the new head.

# %%
model = DigitsCNN(num_classes=4)
plan_partial_load(model, scratch / "digits_0_to_5.pt").apply()
optimizer = torch.optim.Adam(
    [
        {"params": model.features.parameters(), "lr": 1e-4},
        {"params": model.head.parameters(), "lr": 1e-2},
    ]
)
head = model.head.weight.clone()
conv = model.features[0][0].weight.clone()
one_step(model, optimizer)
print(f"largest change in the head {(model.head.weight - head).abs().max():.4f}, ", end="")
print(f"in the first convolution {(model.features[0][0].weight - conv).abs().max():.4f}")
print("learning rates:", [group["lr"] for group in optimizer.param_groups])

# %% [markdown]
# **The old optimizer's state does not fit.** Its moments belong to the old head, and it knows
# parameters by their *position* only. If the groups differ it refuses. If they happen to
# agree, it loads moments of the wrong shape, and fails later.

# %%
old = DigitsCNN(num_classes=6)
old_optimizer = torch.optim.Adam(old.parameters())
cross_entropy(old(torch.rand(4, 1, 16, 16)), torch.arange(4)).backward()
old_optimizer.step()

with lesson.expect_error(ValueError):
    optimizer.load_state_dict(old_optimizer.state_dict())

one_group = torch.optim.Adam(model.parameters())
one_group.load_state_dict(old_optimizer.state_dict())
print("\nwith one group it loaded without a word; now one step:\n")
with lesson.expect_error(RuntimeError, match="size of tensor a"):
    one_step(model, one_group)

# %% [markdown]
# For another task, start a fresh optimizer. Its first steps are larger than usual (Adam's
# moments start from nothing), so a short warm-up helps.
#
# **Try it:** replace the head *before* the optimizer is built, and count the changed parameters again.
#
# ## In short
#
# | you want | do |
# |---|---|
# | what fits, and to know what did not | `plan_partial_load(model, source)`, read it, `.apply()` |
# | other names | `rename=` a mapping, pairs of patterns, or a function |
# | other shapes | `resize={"head.*": keep_rows, …}` |
# | one layer of a large file | give the path: only that layer is read |
# | a frozen backbone | `requires_grad_(False)` **and** `eval()`, again after each `train()` |
# | an optimizer | build it after loading; one group for old parts, one for new |
# | `strict=False` | never without looking at what it returns |
#
# ## Your turn
#
# [Exercises for this lesson](exercises/03_partial_loading.ipynb): do by hand what this lesson's
# helpers do, and find what they would have caught.
#
# ## Further reading
#
# - [Warmstarting from a checkpoint](https://docs.pytorch.org/tutorials/recipes/recipes/warmstarting_model_using_parameters_from_a_different_model.html),
#   PyTorch's recipe with `strict=False`.
# - [torchvision's weights](https://docs.pytorch.org/vision/stable/models.html): the enums exist since 0.13;
#   before, it was `pretrained=True`. Downloads are cached by `torch.hub`, whose
#   `load_state_dict_from_url` still defaults to `weights_only=False` in 2.14: pass `weights_only=True`.
# - K. He, R. Girshick and P. Dollár, *Rethinking ImageNet Pre-training*, ICCV 2019: when a start from
#   scratch catches up.
# - J. Yosinski and others, *How transferable are features in deep neural networks?*, NeurIPS 2014.
# - `consume_prefix_in_state_dict_if_present` in `torch.nn.modules.utils` strips one prefix, in place.

# %%
lesson.finish(scratch)
