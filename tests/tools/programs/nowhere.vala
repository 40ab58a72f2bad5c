// SPDX-License-Identifier: LGPL-2.1-or-later
int main ()
{
  try {
    new Qsnap.Session ("/nowhere").open (null);
  } catch (IOError.NOT_FOUND error) {
    print ("%s\n", error.message);
    return 0;
  } catch (Error error) {
    warning ("%s", error.message);
  }
  return 1;
}
