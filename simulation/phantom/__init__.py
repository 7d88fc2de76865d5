"""Virtual hospitals with known truth, written as real DICOM folders.

    write_hospitals(phantom_hospitals(seed=2020), Path("hospitals"), workers=4)

`patients` draws people, `scanners` the machines, `hospitals` joins both; `ultrasound` makes pictures,
`ultrasound_files` DICOM of them, `write` the folders. Another modality brings its own scanner, pictures and files.

CT and MR cut one body (`anatomy`, `lesion`, `body`) on the grids of their series: `ct` and `mr` say what tissues look
like, `*_makes` what each manufacturer writes, `*_files` write a patient and return the truth (`volumes`).

    write_patient_mr("P1", 7, "siemens", Path("hospital"), kind="hcc", partial="dwi")
"""

from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.hospitals import Hospital, phantom_hospitals
from simulation.phantom.mr_files import write_patient_mr
from simulation.phantom.write import write_hospitals

__all__ = [
    "Hospital", "phantom_hospitals", "write_hospitals", "write_patient_ct", "write_patient_mr",
]  # fmt: skip
