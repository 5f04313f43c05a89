"""From raw data to what a network sees.

Reading order: raw_form, base (what each kind of inputs answers), image_files, pixels, images, csv_files, text_cells,
cells, columns, table_inputs, standardised_rows.
"""

from mtnets.tasks.inputs.base import AS_THEY_ARE, SAME_CLASSES, Inputs, Usage
from mtnets.tasks.inputs.file_tasks import FileTask, FileTasks
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.inputs.standardised_rows import Scale, StandardisedRows, scale_of, standardise
from mtnets.tasks.inputs.table_inputs import TableInputs

__all__ = [
    "AS_THEY_ARE",
    "SAME_CLASSES",
    "FileTask",
    "FileTasks",
    "Images",
    "Inputs",
    "Scale",
    "StandardisedRows",
    "TableInputs",
    "Usage",
    "scale_of",
    "standardise",
]
