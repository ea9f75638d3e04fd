console=${console}
