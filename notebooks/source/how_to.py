# %% [markdown]
# # How to use these notebooks
#
# For those who have not worked in JupyterLab before, and for the moment when something hangs.

# %% [markdown]
# ## A cell, and how to run it
#
# Click into a cell and press **Shift+Enter**: it runs, and the next one is selected. A number such as
# `[3]` appears beside it: it was the third to run. `[*]` means that it is running now.
#
# Run a lesson **from its top to its bottom**. Later cells use names that earlier ones have made; without
# them you get a `NameError`. In the menu: *Run*, *Run All Above Selected Cell*.
#
# Code that only draws a figure is folded away. Click on the three dots to see it.
#
# Predictions are folded answers. Choose one, click it (or go to it with Tab and press Enter), and read
# why it is right or wrong. Then run the cell below.

# %% [markdown]
# ## The kernel
#
# Behind each notebook runs a Python of its own, the **kernel**. It keeps all names until it ends, also
# those of cells that you have deleted since. When results look strange: *Kernel*, *Restart Kernel and Run
# All Cells*. That is the honest test of a notebook, too.
#
# **A stuck `[*]`.** Some cells take a minute (lessons 08 to 10 say which). If it stays longer: the square
# button, or *Kernel*, *Interrupt Kernel*. If that does not help: *Kernel*, *Restart Kernel*.
#
# **"Kernel died".** The process is gone: most often there was no memory left. Close other notebooks
# (*Running Terminals and Kernels*, the round button on the left), and start again.

# %% [markdown]
# ## Where your work is kept
#
# You work in **your own copy** of the course, in the folder `my-course`. `make learn` (or
# `python -m course_utils learn`) made it, and brings it up to date without touching what you
# changed:
#
# | a notebook was changed | then the next `make learn` |
# |---|---|
# | by you only | keeps yours |
# | by the course only | brings the new one |
# | by both | keeps yours, puts the course's beside it as `… (new).ipynb`, and says so |
# | deleted by you | brings a fresh one: so you can begin a lesson anew |
#
# A notebook that you only *ran* does not count as changed: outputs are not kept when the course's version
# changes. JupyterLab saves every two minutes and when you press Ctrl+S.
#
# What lessons write goes to `scratch/` beside the notebooks, and each lesson empties its part at the end.

# %% [markdown]
# ## The terminal, and `ckpt`
#
# *File*, *New*, *Terminal* opens a shell. The course's command is there: `ckpt inspect FILE`. In a cell,
# put an exclamation mark before it: `!ckpt inspect FILE`. Elsewhere: `python -m course_utils inspect FILE`.

# %% [markdown]
# ## The exercises
#
# Write your answer below the task and run it, then run the cell with `check`. It says what was tried, what
# was expected and what came. Each new mistake earns one more hint. `progress()` on the
# [start page](00_start_here.ipynb) counts what you have solved.
#
# You see an error that says nothing to you? Look into the [list of error messages](faq.ipynb). A word? Into the
# [glossary](glossary.ipynb).
