"""How sure it is: intervals of one network, several masks and several seeds, with and without calibration."""
