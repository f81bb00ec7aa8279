"""Results as DICOM objects: Structured Report, Segmentation and Secondary Capture.

`results.encode_results` makes all of a study's objects as bytes; nothing here touches a disk or a
network. The same findings and context give the same bytes.
"""
