// A library that no machine has but the driver's.
#pragma once

// Where the library that this process runs lies.
extern "C" const char* SheafTravelLibraryPath();
