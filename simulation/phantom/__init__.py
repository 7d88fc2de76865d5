"""Virtual hospitals with known truth, written as real DICOM folders.

    write_hospitals(phantom_hospitals(seed=2020), Path("hospitals"), workers=4)

`patients` draws people, `scanners` the machines, `hospitals` joins both; `ultrasound` makes pictures,
`ultrasound_files` DICOM of them, `write` the folders. Another modality brings its own scanner, pictures and files.
"""

from simulation.phantom.hospitals import Hospital, phantom_hospitals
from simulation.phantom.write import device_text, write_hospitals

__all__ = ["Hospital", "device_text", "phantom_hospitals", "write_hospitals"]
