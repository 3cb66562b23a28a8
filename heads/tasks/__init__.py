"""Tasks: which rows have which labels, and which of them are tested on."""

from __future__ import annotations

from heads.tasks.base import Task, TaskData, TaskSelection
from heads.tasks.catalog import TASKS

__all__ = ["TASKS", "Task", "TaskData", "TaskSelection"]
