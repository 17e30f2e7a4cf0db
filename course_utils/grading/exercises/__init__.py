"""The exercises, one module each; `course_utils.grading` says how to write one."""
