"""Many files of images in one HDF5 file, from which each of them comes back byte for byte.

``pack`` makes it, ``verify`` proves it, ``restore`` undoes it. The group ``origin`` of a packed file says how the files
were made; nothing else is needed to restore them.
"""
