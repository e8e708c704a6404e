/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest cannot find out by itself: how to power off, and the serial port.  Numbers are
 * those of vmm/layout.h.  After a change: iasl -tc dsdt.asl, and the bytes go into dsdt.h; the
 * unit test test_acpi compares the two.
 */
DefinitionBlock ("", "DSDT", 2, "VMRLAY", "VMRELAY ", 1)
{
    Name (\_S5, Package () { 5, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x3f8, 0x3f8, 0, 8)
                IRQNoFlags () { 4 }
            })
        }
    }
}
