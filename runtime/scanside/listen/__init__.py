"""The DICOM node: receives studies, analyses them, and sends the results on.

Everything that was acknowledged is on disk before it is acknowledged, and every step is a
transaction of one SQLite file (`scanside.listen.store`): the process may be killed at any point.
"""
