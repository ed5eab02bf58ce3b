package lab_test

func helper() {}
