"""Tasks: which rows have which labels, and which of them are tested on."""

from __future__ import annotations

from heads.tasks.catalog import TASKS
from heads.tasks.data import TaskData
from heads.tasks.selection import TaskSelection
from heads.tasks.spec import Task

__all__ = ["TASKS", "Task", "TaskData", "TaskSelection"]
