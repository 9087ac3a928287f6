grub-common
grub-pc-bin
libdevmapper1.02.1
liblzma5
