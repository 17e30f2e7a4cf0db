"""A class: releases assignments, takes in what comes, grades it, and keeps nbgrader's gradebook."""
