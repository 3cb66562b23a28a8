"""The task catalog: one row a task; listing it reads no data."""

from __future__ import annotations

from embedstore.catalog import Catalog
from heads.tasks.catalog import families, fitness, function, interaction, location, residues
from heads.tasks.spec import Task

TASKS: Catalog[Task] = Catalog(
    "task",
    (*families.TASKS, *location.TASKS, *residues.TASKS, *function.TASKS, *fitness.TASKS, *interaction.TASKS),
    group="embedstore.tasks",
)
"""Every task by name."""
